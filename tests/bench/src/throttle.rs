//! The processor share that Lambda gives a function of 128 MB.

use std::{fs, io, path::PathBuf, process};

/// 7 % of a processor, in slices of 20 ms, by a control group (cgroup) of the kernel.
pub(crate) struct Throttle(PathBuf);

const PERIOD_MICROS: u32 = 20_000;
const QUOTA_MICROS: u32 = 1_400;

impl Throttle {
    /// An error where this machine lets us make no group.
    pub(crate) fn new() -> io::Result<Self> {
        let name = format!("agent-relay-bench-{}", process::id());
        // The first version of control groups has a folder for each kind of limit.
        let first = PathBuf::from("/sys/fs/cgroup/cpu");
        let (folder, limits) = if first.exists() {
            let period = ("cpu.cfs_period_us", PERIOD_MICROS.to_string());
            (first.join(name), vec![period, ("cpu.cfs_quota_us", QUOTA_MICROS.to_string())])
        } else {
            let limit = ("cpu.max", format!("{QUOTA_MICROS} {PERIOD_MICROS}"));
            (PathBuf::from("/sys/fs/cgroup").join(name), vec![limit])
        };
        fs::create_dir(&folder)?;
        let throttle = Self(folder);
        for (file, value) in limits {
            fs::write(throttle.0.join(file), value)?;
        }
        Ok(throttle)
    }

    /// From now on this process has no more.
    pub(crate) fn take(&self, process: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}
