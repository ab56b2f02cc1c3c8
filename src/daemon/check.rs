//! What is wrong with a plan before anything is made.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::config::Config;
use super::plan::{Plan, RoleCommand};
use super::program::Program;
use super::{readiness, roles};
use crate::template::{Nodes, TemplateNode};

/// 198.18.0.0/15, which RFC 2544 reserves for benchmarks, so no node has an address in it.
const BENCHMARK_NETWORK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

impl Plan {
    /// The nodes as templates see them.
    pub(super) fn template_nodes(&self, addresses: impl Iterator<Item = Ipv4Addr>) -> Nodes {
        let node = |(index, ip): (usize, Ipv4Addr)| {
            let planned = &self.nodes[index];
            let service = planned.service.clone().map(|service| (service, planned.replica));
            TemplateNode { name: self.node_name(index).to_string(), ip, service }
        };
        Nodes::of(self.port, addresses.take(self.nodes.len()).enumerate().map(node).collect())
    }

    /// Renders every template for every node before anything is made, with made-up addresses for those that are not known yet.
    ///
    /// # Errors
    /// A sentence that names the template.
    pub(crate) fn check_templates(&self) -> Result<()> {
        let addresses = (2..).map(|nth| Ipv4Addr::from(u32::from(BENCHMARK_NETWORK) + nth));
        let nodes = self.template_nodes(addresses);
        for index in 0..self.nodes.len() {
            let (recipe, variables) = (self.recipe(index), nodes.variables(index));
            Program::render(recipe, &variables)?;
            readiness::render(recipe, &variables)?;
        }
        for role in &self.roles.all {
            if let RoleCommand::InNode(words) = &role.command {
                roles::render(words, &nodes, self.len())?;
            }
        }
        for recipe in &self.recipes {
            for (option, dir) in recipe.template_directories() {
                Config::read(option, dir)?.check(&nodes)?;
            }
        }
        Ok(())
    }
}
