//! How the release binaries of the functions are linked.

fn main() {
    println!("cargo::rerun-if-changed=../build.rs");
    // A program that can lie anywhere in memory is put together anew at each start, which takes time and
    // memory; docs/performance.md has the figures.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
