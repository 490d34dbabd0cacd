//! A plan as text, for logs and snapshot tests: one line for each front end.

use std::fmt;
use std::net::SocketAddr;

use super::plan::{Action, FamilyPlan, FrontEnd, Handling, Plan};

impl fmt::Display for FrontEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(formatter, "{}", SocketAddr::new(address, self.port))?,
            None => write!(formatter, "node:{}", self.port)?,
        }
        write!(formatter, "/{}", self.protocol)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balance(endpoints) => formatter.write_str(&joined(endpoints)),
            Self::Sticky(group) => write!(formatter, "sticky {group}"),
            Self::Reject => formatter.write_str("reject"),
            Self::Drop => formatter.write_str("drop"),
        }
    }
}

impl fmt::Display for Handling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} -> {}", self.service, self.outside)?;
        if let Some(inside) = &self.inside {
            write!(formatter, "; from inside {inside}")?;
        }
        if self.masquerade {
            formatter.write_str("; masquerade")?;
        }
        if let Some(sources) = &self.sources {
            write!(formatter, "; only from {}", joined(sources))?;
        }
        Ok(())
    }
}

impl fmt::Display for FamilyPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (front_end, handling) in &self.front_ends {
            writeln!(formatter, "{front_end} {handling}")?;
        }
        for (name, group) in &self.sticky_groups {
            let endpoints = joined(&group.endpoints);
            writeln!(formatter, "sticky {name} {}s -> {endpoints}", group.timeout_seconds)?;
        }
        if !self.local_endpoints.is_empty() {
            let local: Vec<_> = self.local_endpoints.iter().collect();
            writeln!(formatter, "local endpoints {}", joined(&local))?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.ipv4, self.ipv6)?;
        for (port, check) in &self.health_checks {
            let (namespace, name) = (&check.namespace, &check.name);
            writeln!(formatter, "health :{port} {namespace}/{name} {}", check.local_endpoints)?;
        }
        Ok(())
    }
}

fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
