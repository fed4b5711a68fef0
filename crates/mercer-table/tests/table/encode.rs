//! The numbers that features become; the golden ones may never change, for model files depend on them.

use mercer_table::{FeatureKind, ReadOptions};

use crate::{features, items, kind, row};

#[test]
fn numbers_are_standardised() {
    let table = items("id,n,c\n1,1,5\n2,2,5\n3,3,5\n4,6,5\n", &ReadOptions::default()).unwrap();
    // Mean 3, variance (4 + 1 + 0 + 9) / 4.
    let scale = 3.5f64.sqrt();
    for (at, n) in [1.0, 2.0, 3.0, 6.0].into_iter().enumerate() {
        assert_eq!(row(&table, at), [((n - 3.0) / scale) as f32, 0.0], "a constant becomes 0");
    }
}

#[test]
fn large_numbers_keep_their_spread() {
    let table = items("id,n\n1,1e30\n2,3e30\n", &ReadOptions::default()).unwrap();
    assert_eq!((row(&table, 0), row(&table, 1)), (vec![-1.0], vec![1.0]));
}

#[test]
fn categories_are_one_hot_in_alphabetical_order() {
    let table = items("id,c\n1,b\n2,a\n3,b\n", &kind("c", FeatureKind::Category)).unwrap();
    assert_eq!((row(&table, 0), row(&table, 1)), (vec![0.0, 1.0], vec![1.0, 0.0]));
    assert!(!table.features.is_sparse());
    let many: String = (0..70).map(|i| format!("{i},c{i}\n")).collect();
    let table = items(&format!("id,c\n{many}"), &kind("c", FeatureKind::Category)).unwrap();
    assert!(table.features.is_sparse() && table.features.dim() == 70);
    let table = items("id,c\n1,7\n2,9\n", &kind("c", FeatureKind::Category)).unwrap();
    assert_eq!(table.schema.describe(), "c: category of 2 values", "of any type");
}

#[test]
fn set_bounds_are_the_next_power_of_two() {
    let bound = |largest: i64| {
        let text = format!("id,b\n1,[{largest}]\n2,\"[0,1]\"\n");
        items(&text, &ReadOptions::default()).unwrap().features.dim()
    };
    assert_eq!([bound(2046), bound(2047), bound(2048), bound(1), bound(2)], [2048, 2048, 4096, 2, 4]);
}

#[test]
fn declared_sets_may_be_in_any_order() {
    let table = items("id,b\n1,\"[5,1,5]\"\n2,\"[2]\"\n", &kind("b", FeatureKind::Set(Some(8)))).unwrap();
    assert_eq!(row(&table, 0), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn mixed_features_stand_side_by_side() {
    let text = "id,v,n,b\n1,\"[1.5,2.5]\",1,\"[0,2]\"\n2,\"[3.5,0]\",3,[1]\n";
    let dense = items(text, &features(&["n", "v"])).unwrap();
    assert!(!dense.features.is_sparse());
    assert_eq!((row(&dense, 0), row(&dense, 1)), (vec![-1.0, 1.5, 2.5], vec![1.0, 3.5, 0.0]));
    let sparse = items(text, &features(&["v", "b", "n"])).unwrap();
    assert!(sparse.features.is_sparse());
    assert_eq!(row(&sparse, 0), [1.5, 2.5, 1.0, 0.0, 1.0, 0.0, -1.0]);
    assert_eq!(row(&sparse, 1), [3.5, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn text_rows_have_norm_one_and_ignore_case() {
    let table = items(
        "id,t\n1,The red fox\n2,the RED fox\n3,Ärger über Öl\n4,ärger Über öl\n5,a\n6,\"...\"\n7,-\n",
        &features(&["t"]),
    )
    .unwrap();
    for at in 0..table.len() {
        assert!((table.features.rows().squared_norm(at) - 1.0).abs() < 1e-6, "row {at}");
    }
    assert_eq!(row(&table, 0), row(&table, 1));
    assert_eq!(row(&table, 2), row(&table, 3));
    let similar =
        items("id,t\n1,red foxes jump\n2,the red fox jumped\n3,tax law of 1913\n", &features(&["t"])).unwrap();
    let rows = similar.features.rows();
    assert!(rows.dot(0, &rows, 1) > 0.3 && rows.dot(0, &rows, 2).abs() < 0.1);
}

/// The hash of text, computed as documented but written out plainly: FNV-1a, then the finaliser of MurmurHash3.
fn documented_hash(tag: u8, text: &str) -> u64 {
    let mut h: u64 = 0xcbf29ce484222325;
    for byte in std::iter::once(tag).chain(text.bytes()) {
        h ^= u64::from(byte);
        h = h.wrapping_mul(0x100000001b3);
    }
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ceb9fe1a85ec53);
    h ^ (h >> 33)
}

#[test]
fn text_is_hashed_as_documented() {
    let table = items("id,t\n1,Ox ox\n2,b\n", &features(&["t"])).unwrap();
    let mut expected = vec![0.0f64; 4096];
    // Words "ox" twice and "ox ox" once; each " ox " has the 3-grams " ox" and "ox ", and itself as 4-gram.
    for (tag, gram, count) in
        [(b'w', "ox", 2.0), (b'w', "ox ox", 1.0), (b'c', " ox", 2.0), (b'c', "ox ", 2.0), (b'c', " ox ", 2.0)]
    {
        let hash = documented_hash(tag, gram);
        let weight = 1.0 + f64::ln(count);
        expected[((hash >> 1) % 4096) as usize] += if hash & 1 == 0 { weight } else { -weight };
    }
    let norm = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
    for (column, (got, want)) in row(&table, 0).iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - want / norm).abs() < 1e-6, "column {column}: {got}");
    }
}

#[test]
fn hashes_are_golden() {
    let stored = |at: usize| {
        let table = items("id,t\n1,Ox ox\n2,b\n", &features(&["t"])).unwrap();
        let mut out = Vec::new();
        table.features.rows().for_each(at, |column, value| out.push((column, value > 0.0)));
        out
    };
    assert_eq!(stored(0), GOLDEN_OX);
    assert_eq!(stored(1), GOLDEN_B);
    let numbers = items("id,v\n1,0.5\n-9,0.7\n", &ReadOptions::default()).unwrap();
    let strings = items("id,v\n1,0.5\nb,0.7\n", &ReadOptions::default()).unwrap();
    assert_eq!(numbers.fingerprints, GOLDEN_IDS[..2]);
    assert_eq!(strings.fingerprints, GOLDEN_IDS[2..]);
    let rows = items("v\n\"[1.5,0]\"\n\"[0,1.5]\"\n", &ReadOptions::default()).unwrap();
    assert_eq!(rows.fingerprints, GOLDEN_ROWS);
}

// Computed by another program, in another language, from the documentation.
const GOLDEN_OX: [(usize, bool); 5] = [(724, false), (1032, false), (1205, true), (2241, true), (3330, true)];
const GOLDEN_B: [(usize, bool); 2] = [(191, true), (2615, false)];
const GOLDEN_IDS: [u64; 4] =
    [0x4c13_1ef1_2b40_20e1, 0xb5f6_a026_d167_4f1a, 0x62c2_baa2_1b25_43e9, 0x8039_2431_5a27_ce45];
const GOLDEN_ROWS: [u64; 2] = [0x9c33_dde1_d408_11a7, 0xc0bf_2b8a_b012_4acb];
