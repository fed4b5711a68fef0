//! The model file: one safetensors file whose header holds the configuration as JSON under the key `mercer`.
//!
//! Format version 1. `output` is the link with its `scale` and `offset`; programs that know only a plain link refuse others.
//! Tensors: `query.N.weight` `(inputs, outputs)` and `query.N.bias`, likewise `key.N.*` where the key tower is its
//! own, `form.signs`, and `known.query`, `known.key`: sorted 64-bit fingerprints of the items that were fitted. The schema
//! of the inputs belongs to whoever read the tables; it is stored here without being understood.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::encoder::{DualEncoder, Form, Link};
use crate::error::{Error, Result};
use crate::tower::{Activation, Layer, RowScaling, Tower};

/// The version that this program writes; every version up to it reopens.
const VERSION: u32 = 1;
const KEY: &str = "mercer";

/// A model with everything that its file records about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The towers.
    pub encoder: DualEncoder,
    /// How it was made.
    pub record: Record,
    /// Sorted fingerprints of the query and key items that were fitted; empty where there were no items.
    pub known: [Vec<u64>; 2],
}

/// What a model file records beside the towers. The JSON values belong to their writers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What was learned, such as `gaussian:0.5` or the table's name.
    pub relation: String,
    /// Seed.
    pub seed: u64,
    /// Steps run.
    pub steps: usize,
    /// How the run ended.
    pub outcome: String,
    /// Held-out root mean square error, in the relation's units.
    pub held_out_rmse: Option<f64>,
    /// The same relative to the root mean square of the values.
    pub held_out_relative: Option<f64>,
    /// What the held-out error was measured on.
    pub held_out_pairs: String,
    /// Input schema of each side, owned by the table reader.
    pub schema: Value,
    /// Certificates.
    pub certificates: Vec<Value>,
    /// The resolved configuration of the run.
    pub config: Value,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u32,
    program: String,
    components: usize,
    form: FormName,
    output: Output,
    metric: String,
    query: TowerHeader,
    key: Option<TowerHeader>,
    #[serde(flatten)]
    record: Record,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormName {
    Identity,
    Signs,
}

#[derive(Serialize, Deserialize)]
struct Output {
    link: LinkName,
    scale: f64,
    offset: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LinkName {
    Identity,
    Logistic,
}

impl Output {
    fn of(link: Link) -> Self {
        match link {
            Link::Identity => Output { link: LinkName::Identity, scale: 1.0, offset: 0.0 },
            Link::Logistic { scale, offset } => Output { link: LinkName::Logistic, scale, offset },
        }
    }

    fn link(&self) -> std::result::Result<Link, String> {
        match self.link {
            LinkName::Logistic => Link::logistic(self.scale, self.offset).map_err(|e| e.to_string()),
            LinkName::Identity if self.scale == 1.0 && self.offset == 0.0 => Ok(Link::Identity),
            LinkName::Identity => Err("the model uses an output that this program does not know; update mercer".into()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TowerHeader {
    scaling: RowScaling,
    activations: Vec<Activation>,
    /// Only written where it is not 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    scale: f32,
}

fn one() -> f32 {
    1.0
}

fn is_one(scale: &f32) -> bool {
    *scale == 1.0
}

impl TowerHeader {
    fn of(tower: &Tower) -> Self {
        TowerHeader {
            scaling: tower.scaling(),
            activations: tower.layers().iter().map(Layer::activation).collect(),
            scale: tower.scale(),
        }
    }
}

fn bytes32(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl Model {
    /// Writes the model to `path`, complete or not at all: beside it first, then renamed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes()?)
    }

    /// The file's bytes; the same model gives the same bytes.
    ///
    /// # Errors
    /// Only if the record cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let encoder = &self.encoder;
        let header = Header {
            format_version: VERSION,
            program: format!("mercer {}", env!("CARGO_PKG_VERSION")),
            components: encoder.components(),
            form: if matches!(encoder.form(), Form::Identity) { FormName::Identity } else { FormName::Signs },
            output: Output::of(encoder.link()),
            metric: "inner_product".into(),
            query: TowerHeader::of(encoder.query()),
            key: (!encoder.is_shared()).then(|| TowerHeader::of(encoder.key())),
            record: self.record.clone(),
        };
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let towers = [("query", Some(encoder.query())), ("key", (!encoder.is_shared()).then(|| encoder.key()))];
        for (side, tower) in towers {
            for (i, layer) in tower.into_iter().flat_map(Tower::layers).enumerate() {
                let shape = vec![layer.inputs(), layer.outputs()];
                tensors.push((format!("{side}.{i}.weight"), Dtype::F32, shape, bytes32(layer.weights())));
                tensors.push((format!("{side}.{i}.bias"), Dtype::F32, vec![layer.outputs()], bytes32(layer.bias())));
            }
        }
        if let Form::Signs(signs) = encoder.form() {
            tensors.push(("form.signs".into(), Dtype::F32, vec![signs.len()], bytes32(signs)));
        }
        for (side, known) in ["known.query", "known.key"].into_iter().zip(&self.known) {
            let bytes = known.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((side.into(), Dtype::U64, vec![known.len()], bytes));
        }
        let json = |e: &dyn std::fmt::Display| Error::parameter("model record", "serialisable", e);
        let header = serde_json::to_string(&header).map_err(|e| json(&e))?;
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, dtype, shape, data)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), data)?)))
            .collect::<std::result::Result<_, safetensors::SafeTensorError>>()
            .map_err(|e| json(&e))?;
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), header)]))).map_err(|e| json(&e))
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if it cannot be read, [`crate::ErrorKind::Format`] if it is not a whole, well-formed model.
    pub fn load(path: &Path) -> Result<Model> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        Model::from_bytes(&bytes).map_err(|problem| Error::format(path, problem))
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Model, String> {
        let broken = |e: safetensors::SafeTensorError| {
            format!(
                "not a whole model file ({e}); name the model first, then the tables, or write it again with mercer fit"
            )
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let text = text.ok_or("a safetensors file, but not a mercer model: its header has no entry 'mercer'")?;
        let version: Value = serde_json::from_str(text).map_err(|e| format!("the model's header is not JSON ({e})"))?;
        match version.get("format_version").and_then(Value::as_u64) {
            Some(v) if v > u64::from(VERSION) => {
                return Err(format!("written in format {v}, this program reads up to {VERSION}; update mercer"));
            }
            Some(1..) => {}
            Some(0) | None => return Err("the model's header has no format_version from 1 on".into()),
        }
        let header: Header =
            serde_json::from_value(version).map_err(|e| format!("the model's header is incomplete ({e})"))?;
        if header.metric != "inner_product" {
            return Err("the model uses a metric that this program does not know; update mercer".into());
        }
        let link = header.output.link()?;
        let query = read_tower(&tensors, "query", &header.query)?;
        let key = header.key.as_ref().map(|h| read_tower(&tensors, "key", h)).transpose()?;
        let form = match header.form {
            FormName::Identity => Form::Identity,
            FormName::Signs => Form::Signs(floats(&tensors, "form.signs")?.1),
        };
        let encoder = DualEncoder::new(query, key, form, header.components).map_err(|e| e.to_string())?;
        let known = [known(&tensors, "known.query")?, known(&tensors, "known.key")?];
        Ok(Model { encoder: encoder.with_link(link), record: header.record, known })
    }
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
    let tensor = tensors.tensor(name).map_err(|_| format!("the tensor {name} is missing"))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("the tensor {name} has dtype {:?}, expected F32", tensor.dtype()));
    }
    let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok((tensor.shape().to_vec(), values))
}

fn known(tensors: &SafeTensors<'_>, name: &str) -> std::result::Result<Vec<u64>, String> {
    let Ok(tensor) = tensors.tensor(name) else { return Ok(Vec::new()) };
    if tensor.dtype() != Dtype::U64 {
        return Err(format!("the tensor {name} has dtype {:?}, expected U64", tensor.dtype()));
    }
    let mut known: Vec<u64> = tensor.data().as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    known.sort_unstable();
    Ok(known)
}

fn read_tower(tensors: &SafeTensors<'_>, side: &str, header: &TowerHeader) -> std::result::Result<Tower, String> {
    let mut layers = Vec::new();
    for (i, activation) in header.activations.iter().enumerate() {
        let (shape, weights) = floats(tensors, &format!("{side}.{i}.weight"))?;
        let (_, bias) = floats(tensors, &format!("{side}.{i}.bias"))?;
        if shape.len() != 2 || shape[1] != bias.len() {
            return Err(format!("{side}.{i}.weight has shape {shape:?}, expected (inputs, {})", bias.len()));
        }
        layers.push(Layer::new(weights, bias, *activation).map_err(|e| e.to_string())?);
    }
    let tower = Tower::new(layers).map_err(|e| e.to_string())?.with_scaling(header.scaling);
    tower.with_scale(header.scale).map_err(|e| e.to_string())
}

/// Writes `bytes` to `path` by way of a new file beside it: synced, then renamed.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".mercer-").suffix(".tmp").tempfile_in(folder).map_err(|e| Error::io(path, e))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|e| Error::io(path, e))?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}
