//! The images that a cluster's containers are made of.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Result, anyhow, bail};
use futures_util::StreamExt;
use futures_util::future::try_join_all;

use super::machines::Machines;
use super::plan::Plan;
use super::report::{Report, Reporter};
use crate::engine::{Engine, EngineError};
use crate::selfimage::SelfImage;

/// The images that the containers are made of.
pub(super) struct Images {
    /// Our own program's, for sandboxes and demo nodes.
    pub(super) own: SelfImage,
    /// Of each recipe: the image, and the paths that it declares as volumes.
    pub(super) recipes: Vec<(String, Vec<String>)>,
}

impl Images {
    /// Pulls those that are missing, on each machine that nodes run them on.
    pub(super) async fn find(plan: &Plan, own: SelfImage, machines: &Machines, report: &Reporter) -> Result<Self> {
        let mut recipes = vec![];
        for (number, recipe) in plan.recipes.iter().enumerate() {
            let Some(image) = &recipe.image else {
                recipes.push((own.reference.clone(), vec![]));
                continue;
            };
            let runs_it = |index: &usize| plan.nodes[*index].recipe == number;
            let hosts: BTreeSet<_> =
                (0..plan.nodes.len()).filter(runs_it).map(|index| machines.host_of(index)).collect();
            let engines = hosts.into_iter().map(|host| machines.fleet.engine(host).as_ref());
            let volumes = engines.map(|engine| volumes_of(engine, image, recipe.never_pull.as_deref(), report));
            // All of them have the same, if they have the same image.
            let volumes = try_join_all(volumes).await?.into_iter().next_back().unwrap_or_default();
            recipes.push((image.clone(), volumes));
        }
        Ok(Self { own, recipes })
    }

    /// All that nodes run, each once, in words.
    pub(super) fn text(&self) -> String {
        let mut seen = HashSet::new();
        let images: Vec<_> =
            self.recipes.iter().map(|(image, _)| image.as_str()).filter(|image| seen.insert(*image)).collect();
        images.join(", ")
    }

    /// The image of a node.
    pub(super) fn node(&self, plan: &Plan, index: usize) -> &str {
        &self.recipes[plan.nodes[index].recipe].0
    }
}

/// The paths that an image declares as volumes. An image that is missing is pulled.
async fn volumes_of(
    engine: &dyn Engine,
    image: &str,
    never_pull: Option<&str>,
    report: &Reporter,
) -> Result<Vec<String>> {
    match engine.image_volumes(image).await {
        Err(EngineError::NotFound(_)) => {}
        volumes => return Ok(volumes?),
    }
    if let Some(why) = never_pull {
        bail!("the image {image} is not here: {why}");
    }
    let what = format!("pulling {image}");
    report(Report::Step(what.clone()));
    let missing = |error: EngineError| anyhow!("the image {image} is not here and cannot be pulled: {error}");
    let mut steps = engine.pull(image).await.map_err(missing)?;
    while let Some(step) = steps.next().await {
        let step = step.map_err(missing)?;
        report(Report::Progress { what: what.clone(), done: step.done, total: step.total });
    }
    Ok(engine.image_volumes(image).await?)
}
