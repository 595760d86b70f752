//! Where a callback may go: the public internet, and what the operator has named besides.
//!
//! A URL is checked twice: its text when it is accepted, and the address that is really used
//! when it is connected to (a name may resolve to anything by then).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;
use url::Host;

/// The hosts and networks that callbacks may reach besides public https, also over http.
///
/// Read from a comma-separated list of names (`n8n.internal`), all names below one
/// (`*.corp.example`), addresses, and networks (`10.0.0.0/8`). No entry opens everything, and a name
/// only what it may be meant for: who keeps its record could point it at this host itself.
#[derive(Debug, Clone, Default)]
pub struct CallbackAllow {
    names: Vec<String>,
    suffixes: Vec<String>,
    networks: Vec<IpNet>,
}

/// An entry of the list opens nothing, or perhaps more than was meant.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a host name, an address, or a network written from its first address")]
pub struct InvalidAllow(String);

impl FromStr for CallbackAllow {
    type Err = InvalidAllow;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let mut allow = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let invalid = || InvalidAllow(entry.to_owned());
            let network =
                entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            if let Ok(network) = network {
                allow.networks.push(opened(network).ok_or_else(invalid)?);
            } else if let Some(suffix) = entry.strip_prefix("*.") {
                allow.suffixes.push(format!(".{}", name(suffix).ok_or_else(invalid)?));
            } else {
                allow.names.push(name(entry).ok_or_else(invalid)?);
            }
        }
        Ok(allow)
    }
}

/// A network that an entry may open. `10.0.0.5/8` is a slip that would open too much, and an
/// IPv4-mapped form would open nothing, since addresses are compared in their own family.
fn opened(network: IpNet) -> Option<IpNet> {
    let mapped = matches!(network.addr(), IpAddr::V6(it) if it.to_ipv4_mapped().is_some());
    (network.trunc() == network && network.prefix_len() > 0 && !mapped).then_some(network)
}

/// A name as hosts are compared. What a URL would read as an address (`127.1`) is none.
fn name(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    match Host::parse(&lower) {
        Ok(Host::Domain(host)) if host == lower && is_host_name(&host) => Some(host),
        _ => None,
    }
}

/// Whether a name can stand in DNS and in a certificate, without the root's dot at its end. An
/// underscore is no letter of host names, but stands in many.
#[must_use]
pub(crate) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Top-level names under which nothing is public.
const NEVER_PUBLIC: [&str; 15] = [
    // Special use, as IANA has registered them (RFC 6761, 6762, 7686, 9476); under `arpa` there
    // is only infrastructure, and `home.arpa` (RFC 8375).
    "alt",
    "arpa",
    "example",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
    // Reserved by ICANN for private use; `metadata.google.internal` is one of them.
    "internal",
    // Not delegated, and used in private networks (RFC 6762, appendix G) and hosts files.
    "corp",
    "home",
    "intranet",
    "lan",
    "localdomain",
    "private",
];

/// Whether a name in lower case may be a public one: not a single label, which is searched in
/// the resolver's own domain, and not by its registration private.
#[must_use]
pub(crate) fn is_public_name(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, top)| !NEVER_PUBLIC.contains(&top))
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
        is_public(address) || self.holds(address) || (is_private(address) && self.names(host))
    }
}

/// Whether hosts of an organisation live there: not this host, nor the link, where clouds keep their
/// metadata, nor what stands for another address.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        // RFC 1918; and the shared space of RFC 6598, which providers number networks of their own by, but
        // for the one address in it that is a metadata service (Alibaba Cloud's).
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && (64..=127).contains(&second);
            address.is_private() || (is_shared && address != Ipv4Addr::new(100, 100, 100, 200))
        }
        // RFC 4193; fd00:ec2::/32 is AWS's, for metadata, time and resolvers.
        IpAddr::V6(address) => {
            address.is_unique_local() && !matches!(address.segments(), [0xfd00, 0x0ec2, ..])
        }
    }
}

/// Whether an address is a global unicast one, as the IANA special-purpose registries have it
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, and the same for IPv6).
///
/// The protocol assignments (`192.0.0.0/24`, `2001::/23`) and NAT64 are refused as a whole,
/// although parts of them can be reached: no receiver lives there.
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

    /// The registries' special ranges, without those that lie in another one listed here.
    const SPECIAL_V4: [&str; 15] = [
        "0.0.0.0/8",       // "this network"
        "10.0.0.0/8",      // private
        "100.64.0.0/10",   // shared address space
        "127.0.0.0/8",     // loopback
        "169.254.0.0/16",  // link-local
        "172.16.0.0/12",   // private
        "192.0.0.0/24",    // protocol assignments
        "192.0.2.0/24",    // documentation
        "192.88.99.0/24",  // 6to4 relays
        "192.168.0.0/16",  // private
        "198.18.0.0/15",   // benchmarks
        "198.51.100.0/24", // documentation
        "203.0.113.0/24",  // documentation
        "224.0.0.0/4",     // multicast, in a registry of its own
        "240.0.0.0/4",     // reserved, and the broadcast address
    ];
    const SPECIAL_V6: [&str; 25] = [
        "::/3",            // not global unicast, like all outside of 2000::/3
        "::/128",          // unspecified
        "::1/128",         // loopback
        "::/96",           // IPv4-compatible
        "::ffff:0:0/96",   // IPv4-mapped
        "::ffff:0:0:0/96", // IPv4-translated
        "64:ff9b::/96",    // NAT64
        "64:ff9b:1::/48",  // NAT64 of local use
        "100::/64",        // discarded
        "100:0:0:1::/64",  // dummy prefix
        "2001::/23",       // protocol assignments
        "2001::/32",       // Teredo
        "2001:2::/48",     // benchmarks
        "2001:10::/28",    // ORCHID
        "2001:20::/28",    // ORCHID, version 2
        "2001:db8::/32",   // documentation
        "2002::/16",       // 6to4
        "3fff::/20",       // documentation
        "4000::/2",        // not global unicast
        "5f00::/16",       // segment routing
        "8000::/1",        // not global unicast
        "fc00::/7",        // unique local
        "fe80::/10",       // link-local
        "fec0::/10",       // site-local
        "ff00::/8",        // multicast
    ];

    #[test]
    fn every_special_ipv4_range_is_refused_up_to_its_very_ends() {
        let special: Vec<ipnet::Ipv4Net> = SPECIAL_V4.map(|it| it.parse().unwrap()).into();
        let ends = special.iter().flat_map(|range| {
            let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
        });
        // And both ends of each /16, so that nothing is refused which is not in the list.
        let rest = (0..=0xffff_u32).flat_map(|high| [high << 16, high << 16 | 0xffff]);
        for address in ends.chain(rest).map(Ipv4Addr::from) {
            let public = !special.iter().any(|range| range.contains(&address));
            assert_eq!(is_public(address.into()), public, "{address}");
            // The same address in IPv6's words is never dialled.
            assert!(!is_public(address.to_ipv6_mapped().into()), "::ffff:{address}");
        }
    }

    #[test]
    fn every_special_ipv6_range_is_refused_up_to_its_very_ends() {
        let special: Vec<ipnet::Ipv6Net> = SPECIAL_V6.map(|it| it.parse().unwrap()).into();
        let ends = special.iter().flat_map(|range| {
            let (first, last) = (u128::from(range.network()), u128::from(range.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
        });
        // And both ends of each /16, and of each /32 where the special ones lie.
        let wide = (0..=0xffff_u128).map(|high| (high << 112, 112));
        let close = [0x2000_u128, 0x2001, 0x2002, 0x3fff]
            .into_iter()
            .flat_map(|high| (0..=0xffff).map(move |low| ((high << 16 | low) << 96, 96)));
        let rest = wide.chain(close).flat_map(|(first, bits)| [first, first | ((1 << bits) - 1)]);
        for address in ends.chain(rest).map(Ipv6Addr::from) {
            let public = !special.iter().any(|range| range.contains(&address));
            assert_eq!(is_public(address.into()), public, "{address}");
        }
    }

    #[test]
    fn well_known_addresses_are_what_they_are_known_for() {
        for public in
            ["1.1.1.1", "8.8.8.8", "192.31.196.1", "2606:4700:4700::1111", "2620:4f:8000::1"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.0.9",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:4:112::1",
            "fd00:ec2::254",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn a_name_is_public_unless_its_registration_says_otherwise() {
        for public in ["example.com", "localhost.example.com", "internal.com", "xn--bcher-kva.com"]
        {
            assert!(is_public_name(public), "{public}");
        }
        for top in NEVER_PUBLIC {
            assert!(!is_public_name(top) && !is_public_name(&format!("a.b.{top}")), "{top}");
        }
        for private in ["", "intranet", "metadata.google.internal", "router.home.arpa"] {
            assert!(!is_public_name(private), "{private}");
        }
    }

    #[test]
    fn a_host_name_has_labels_of_known_letters() {
        let long = "a".repeat(63);
        for name in ["a", "a-b.c_d.e1", "_dmarc.example.com", &format!("{long}.com")] {
            assert!(is_host_name(name), "{name}");
        }
        let whole = [long.as_str(); 4].join(".");
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a*b",
            "é",
            &format!("{long}a"),
            &whole,
        ] {
            assert!(!is_host_name(name), "{name}");
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
    }

    #[test]
    fn a_name_opens_private_ranges_and_neither_this_host_nor_the_link_nor_metadata() {
        let allow: CallbackAllow = "n8n,*.corp.example".parse().unwrap();
        let may = |allow: &CallbackAllow, address: &str| {
            let address = address.parse().unwrap();
            let hosts = ["n8n", "a.corp.example"];
            let may = hosts.map(|host| allow.may_connect(host, address));
            assert_eq!(may[0], may[1], "{address}");
            may[0]
        };
        for private in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "::ffff:192.168.0.1",
            "100.64.0.1",
            "fd12:3456::1",
            "1.1.1.1",
            "2606:4700:4700::1111",
        ] {
            assert!(may(&allow, private), "{private}");
        }
        for special in [
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.169.253",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fec0::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!may(&allow, special), "{special}");
            // But the list may say so.
            let Ok(address) = special.parse::<IpAddr>() else { unreachable!() };
            let said = format!("n8n,*.corp.example,{}", address.to_canonical());
            assert!(may(&said.parse().unwrap(), special), "{said}");
        }
        assert!(!allow.may_connect("other", "10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_entry_that_opens_nothing_or_too_much_is_refused() {
        for entry in [
            "http://n8n",
            "n8n:5678",
            "127.0.0.1:5678",
            "[::1]",
            "fe80::1%eth0",
            "n8n/",
            "user@n8n",
            "n8n n8n2",
            "n8n.internal.",
            "bücher.example",
            "xn--\u{e9}",
            "-n8n",
            "*",
            "*.",
            "*..",
            "*.*",
            "*.a.*",
            "a.*.b",
            "*a.example",
            "*.127.0.0.1",
            ".",
            "..",
            ".example",
            "127.1",
            "010.0.0.1",
            "0x7f000001",
            "2130706433",
            "256.0.0.1",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.5/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10/8",
            "/8",
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.0/104",
            "::ffff:0:0/96",
        ] {
            assert!(format!("n8n.internal,{entry}").parse::<CallbackAllow>().is_err(), "{entry:?}");
        }
    }
}
