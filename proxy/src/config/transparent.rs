//! `--transparent`: what has to be so where connections are intercepted.

use std::net::{IpAddr, Ipv4Addr};

use clap::ValueEnum;

use super::flags::Flags;
use super::place::Place;
use super::target::App;
use super::{ConfigError, Inbound};

/// How intercepted connections are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transparent {
    /// Those that lead out of the mesh.
    pub unknown: UnknownDestinations,
}

/// What becomes of connections to what the mesh does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum UnknownDestinations {
    /// They go where they were going
    #[default]
    Allow,
    /// They are refused
    Refuse,
}

/// What the flags ask for. Where the kernel delivers what it redirects is not for them to choose: on the way out to loopback, on the way in to the
/// address of whichever interface it came by.
pub(super) fn transparent(
    flags: &Flags,
    outbound: Option<&Place>,
    inbound: Option<&Inbound>,
) -> Result<Option<Transparent>, ConfigError> {
    let wrong = |what: String| Err(ConfigError::Combination(what));
    if !flags.transparent {
        return match flags.unknown_destinations {
            None => Ok(None),
            Some(_) => wrong("--unknown-destinations goes with --transparent".to_owned()),
        };
    }
    let gets = |ip: IpAddr| ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let own = |outbound: &Place| outbound.address().is_some_and(|address| gets(address.ip()));
    if let Some(outbound) = outbound.filter(|outbound| !own(outbound)) {
        return wrong(format!(
            "--outbound {outbound} gets nothing that is intercepted: with --transparent it is on 127.0.0.1, and on ::1 by itself"
        ));
    }
    if let Some(Inbound { listen, app }) = inbound {
        if !listen.ip().is_unspecified() {
            return wrong(format!(
                "--inbound {listen} gets nothing that is intercepted: with --transparent it is on all addresses, 0.0.0.0:{}",
                listen.port()
            ));
        }
        if let App::At { address, .. } = app
            && !address.is_loopback()
        {
            return wrong(format!(
                "--app {address} would be intercepted itself: with --transparent it is on loopback"
            ));
        }
    }
    Ok(Some(Transparent { unknown: flags.unknown_destinations.unwrap_or_default() }))
}
