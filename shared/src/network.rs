//! Where a callback may go: the public internet, and what the operator has named besides.
//!
//! A URL is checked twice: its text when it is accepted, and the address that is really used
//! when it is connected to (a name may resolve to anything by then).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// The hosts and networks that callbacks may reach besides public https, also over http.
///
/// Read from a comma-separated list of names (`n8n.internal`), names with all below them
/// (`*.corp.example`), addresses, and networks (`10.0.0.0/8`).
#[derive(Debug, Clone, Default)]
pub struct CallbackAllow {
    names: Vec<String>,
    suffixes: Vec<String>,
    networks: Vec<IpNet>,
}

/// An entry of the list is neither a name, nor an address, nor a network.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither a host name, nor an address, nor a network")]
pub struct InvalidAllow(String);

impl FromStr for CallbackAllow {
    type Err = InvalidAllow;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let mut allow = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            if let Ok(network) = entry.parse::<IpNet>() {
                allow.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                allow.networks.push(address.into());
            } else if let Some(suffix) = entry.strip_prefix("*.").filter(|it| is_name(it)) {
                allow.suffixes.push(format!(".{}", suffix.to_ascii_lowercase()));
            } else if is_name(entry) {
                allow.names.push(entry.to_ascii_lowercase());
            } else {
                return Err(InvalidAllow(entry.to_owned()));
            }
        }
        Ok(allow)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

impl CallbackAllow {
    /// Whether the operator has named this host.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.names.contains(&host) || self.suffixes.iter().any(|suffix| host.ends_with(suffix))
    }

    /// Whether the operator has named this address or a network around it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Whether a callback to `host` may connect to `address`, which it resolved to.
    #[must_use]
    pub fn may_connect(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || self.holds(address) || self.names(host)
    }
}

/// Whether an address is a global unicast one, as the IANA special-purpose registries have it
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, and the same for IPv6).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

#[expect(clippy::match_same_arms, reason = "each range has its own origin")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback.
        [0 | 10 | 127, ..] => false,
        // Shared address space (RFC 6598).
        [100, 64..=127, ..] => false,
        // Link-local, where clouds keep their metadata service.
        [169, 254, ..] => false,
        // Private (RFC 1918).
        [172, 16..=31, ..] | [192, 168, ..] => false,
        // Protocol assignments, documentation, 6to4 relays.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => false,
        // Benchmarks, documentation.
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3. Everything else goes: loopback, link-local, unique local,
    // multicast, and the forms that carry an IPv4 address (mapped, NAT64).
    match address.segments() {
        // Protocol assignments with Teredo and ORCHID (2001::/23), and documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..]
        // 6to4, which carries an IPv4 address.
        | [0x2002, ..]
        // Documentation (RFC 9637).
        | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "192.1.0.1",
            "2606:4700::1",
            "2a00::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:1ff::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn the_operator_opens_names_addresses_and_networks() {
        let allow: CallbackAllow =
            "n8n.internal, *.corp.example,127.0.0.1,10.0.0.0/8,fd00::/8".parse().unwrap();

        assert!(allow.names("N8N.internal"));
        assert!(allow.names("a.b.corp.example"));
        assert!(!allow.names("corp.example"));
        assert!(!allow.names("evil-n8n.internal"));
        assert!(allow.holds("10.200.0.1".parse().unwrap()));
        assert!(allow.holds("::ffff:10.0.0.1".parse().unwrap()));
        assert!(allow.holds("fd12::1".parse().unwrap()));
        assert!(!allow.holds("127.0.0.2".parse().unwrap()));
        assert!(allow.may_connect("n8n.internal", "192.168.0.1".parse().unwrap()));
        assert!(!allow.may_connect("public.example", "192.168.0.1".parse().unwrap()));
        assert!("".parse::<CallbackAllow>().is_ok());
        assert!("http://n8n".parse::<CallbackAllow>().is_err());
    }
}
