//! A training's state as one file: everything that the next step depends on, bit for bit.
//!
//! A safetensors file of named arrays, written beside and renamed, so that there is always a whole one. Its header names what
//! the training was made of; a checkpoint of another one is refused.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::encoder::write_whole;
use crate::error::{Error, Result};
use crate::fit::gradient::data::{ExampleSet, Loaded};
use crate::rows::Features;

const VERSION: u32 = 1;
const KEY: &str = "mercer_checkpoint";

/// What a training is made of: options, data, start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    version: u32,
    options: String,
    data: String,
    start: String,
}

impl Fingerprint {
    /// Of a training with these options and data that starts from these parameters.
    pub(crate) fn new(options: &str, data: &Loaded<'_>, start: impl Iterator<Item = f32>) -> Self {
        Fingerprint {
            version: VERSION,
            options: options.into(),
            data: format!("{:016x}", data_hash(data)),
            start: format!("{:016x}", Hash::default().all(start.map(|v| u64::from(v.to_bits()))).0),
        }
    }

    /// What of another training differs from this one, in words.
    fn difference(&self, other: &Fingerprint) -> Option<String> {
        if self.version != other.version {
            return Some(format!("it has format {}, this program writes {}", other.version, self.version));
        }
        if self.data != other.data {
            return Some("it belongs to other data".into());
        }
        if self.start != other.start {
            return Some("its training started from another model".into());
        }
        (self.options != other.options)
            .then(|| format!("its options are {}, those given are {}", other.options, self.options))
    }
}

/// Named arrays of a training's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Arrays {
    floats: HashMap<String, Vec<f32>>,
    doubles: HashMap<String, Vec<f64>>,
    counts: HashMap<String, Vec<u64>>,
}

impl Arrays {
    pub(crate) fn put_floats(&mut self, name: &str, values: &[f32]) {
        self.floats.insert(name.into(), values.to_vec());
    }

    pub(crate) fn put_doubles(&mut self, name: &str, values: Vec<f64>) {
        self.doubles.insert(name.into(), values);
    }

    pub(crate) fn put_counts(&mut self, name: &str, values: Vec<u64>) {
        self.counts.insert(name.into(), values);
    }

    pub(crate) fn floats(&mut self, name: &str) -> Option<Vec<f32>> {
        self.floats.remove(name)
    }

    pub(crate) fn doubles(&mut self, name: &str) -> Option<Vec<f64>> {
        self.doubles.remove(name)
    }

    pub(crate) fn counts(&mut self, name: &str) -> Option<Vec<u64>> {
        self.counts.remove(name)
    }

    /// Writes the arrays to `path`, complete or not at all.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if the file cannot be written.
    pub(crate) fn save(&self, path: &Path, fingerprint: &Fingerprint) -> Result<()> {
        let mut tensors: Vec<(&String, Dtype, usize, Vec<u8>)> = Vec::new();
        let floats = self.floats.iter().map(|(n, v)| (n, Dtype::F32, v.len(), bytes(v, |v| v.to_le_bytes())));
        let doubles = self.doubles.iter().map(|(n, v)| (n, Dtype::F64, v.len(), bytes(v, |v| v.to_le_bytes())));
        let counts = self.counts.iter().map(|(n, v)| (n, Dtype::U64, v.len(), bytes(v, |v| v.to_le_bytes())));
        tensors.extend(floats.chain(doubles).chain(counts));
        let failed = |e: &dyn std::fmt::Display| Error::format(path, format!("could not be laid out ({e})"));
        let views: Vec<(&String, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, dtype, len, bytes)| Ok((*name, TensorView::new(*dtype, vec![*len], bytes)?)))
            .collect::<std::result::Result<_, safetensors::SafeTensorError>>()
            .map_err(|e| failed(&e))?;
        let header = serde_json::to_string(fingerprint).map_err(|e| failed(&e))?;
        let header = HashMap::from([(KEY.to_string(), header)]);
        let bytes = safetensors::serialize(views, Some(header)).map_err(|e| failed(&e))?;
        write_whole(path, &bytes)
    }

    /// Reads the arrays of the training with this fingerprint.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if the file cannot be read, [`crate::ErrorKind::Format`] if it is no checkpoint, or one of another
    /// training.
    pub(crate) fn load(path: &Path, fingerprint: &Fingerprint) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        Arrays::from_bytes(&bytes, fingerprint).map_err(|problem| Error::format(path, problem))
    }

    fn from_bytes(bytes: &[u8], fingerprint: &Fingerprint) -> std::result::Result<Self, String> {
        let broken = |e: safetensors::SafeTensorError| format!("not a whole checkpoint ({e}); start without it");
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or("no checkpoint of a training")?;
        let found: Fingerprint =
            serde_json::from_str(header).map_err(|e| format!("the checkpoint's header is incomplete ({e})"))?;
        if let Some(difference) = fingerprint.difference(&found) {
            return Err(format!("this checkpoint is of another training: {difference}; start without it"));
        }
        let mut arrays = Arrays::default();
        for (name, view) in tensors.tensors() {
            let data = view.data();
            match view.dtype() {
                Dtype::F32 => {
                    let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                    arrays.floats.insert(name, values);
                }
                Dtype::F64 => {
                    let values = data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
                    arrays.doubles.insert(name, values);
                }
                Dtype::U64 => {
                    let values = data.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
                    arrays.counts.insert(name, values);
                }
                other => return Err(format!("the array {name} has dtype {other:?}, which no checkpoint holds")),
            }
        }
        Ok(arrays)
    }
}

fn bytes<T: Copy, const N: usize>(values: &[T], of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| of(v)).collect()
}

/// A running hash of 64-bit words; equal data give equal hashes on every machine.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0x9e37_79b9_7f4a_7c15)
    }
}

impl Hash {
    /// One round of multiplication and folding (the finaliser of splitmix64).
    fn add(self, word: u64) -> Self {
        let mut z = (self.0 ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Hash(z ^ (z >> 31))
    }

    fn all(self, words: impl Iterator<Item = u64>) -> Self {
        let (mut hash, mut n) = (self, 0);
        for word in words {
            (hash, n) = (hash.add(word), n + 1);
        }
        hash.add(n)
    }
}

fn data_hash(data: &Loaded<'_>) -> u64 {
    let mut hash = hash_items(Hash::default(), &data.queries);
    hash = match data.keys.as_deref() {
        Some(keys) => hash_items(hash.add(1), keys),
        None => hash.add(0),
    };
    for set in [&data.train, &data.valid] {
        hash = hash_examples(hash, set);
    }
    for query in 0..data.queries.len() {
        hash = hash.all(data.known.of(query as u32).iter().map(|&k| u64::from(k)));
    }
    for own in data.negatives.iter().flatten() {
        hash = hash.all(own.iter().map(|&k| u64::from(k)));
    }
    hash.0
}

fn hash_examples(hash: Hash, set: &ExampleSet) -> Hash {
    let hash = [&set.query, &set.key, &set.other]
        .into_iter()
        .fold(hash, |hash, side| hash.all(side.iter().map(|&v| u64::from(v))));
    let hash = hash.all(set.value.iter().map(|v| u64::from(v.to_bits())));
    let hash = hash.all(set.weight.iter().flatten().map(|v| u64::from(v.to_bits())));
    hash.all(set.lists.iter().map(|&v| v as u64))
}

fn hash_items(hash: Hash, items: &Features) -> Hash {
    let rows = items.rows();
    let mut hash = hash.add(rows.len() as u64).add(rows.dim() as u64);
    for row in 0..rows.len() {
        rows.for_each(row, |column, value| {
            hash = hash.add((column as u64) << 32 | u64::from(value.to_bits()));
        });
        hash = hash.add(row as u64);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_survive_the_file_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut arrays = Arrays::default();
        arrays.put_floats("a", &[0.1, -0.0, f32::MIN_POSITIVE, f32::MAX]);
        arrays.put_doubles("b", vec![std::f64::consts::PI, f64::NAN, f64::NEG_INFINITY]);
        arrays.put_counts("c", vec![0, u64::MAX]);
        arrays.put_floats("none", &[]);
        let own = Fingerprint { version: VERSION, options: "o".into(), data: "d".into(), start: "s".into() };
        arrays.save(&path, &own).unwrap();
        let mut back = Arrays::load(&path, &own).unwrap();
        assert_eq!(back.floats("a").unwrap().map_bits(), arrays.floats["a"].clone().map_bits());
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back.doubles("b").unwrap()), bits(&arrays.doubles["b"]));
        assert_eq!((back.counts("c"), back.floats("none")), (Some(vec![0, u64::MAX]), Some(vec![])));
        assert_eq!(back.floats("a"), None);
        for other in [
            Fingerprint { data: "x".into(), ..own.clone() },
            Fingerprint { options: "x".into(), ..own.clone() },
            Fingerprint { start: "x".into(), ..own.clone() },
            Fingerprint { version: 0, ..own.clone() },
        ] {
            let message = Arrays::load(&path, &other).unwrap_err().to_string();
            assert!(message.contains("another training"), "{message}");
        }
        // Cut files are refused, whatever is left of them.
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            assert!(Arrays::from_bytes(&bytes[..length], &own).is_err(), "{length}");
        }
    }

    trait Bits {
        fn map_bits(self) -> Vec<u32>;
    }
    impl Bits for Vec<f32> {
        fn map_bits(self) -> Vec<u32> {
            self.into_iter().map(f32::to_bits).collect()
        }
    }
}
