#!/bin/sh
# Two relations from real data, each learned by one command. See data/README.md for the data and their licences.
set -eu
out=demo-out
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }
run() { printf '\n$ mercer %s\n' "$*"; "$MERCER" "$@"; }

say "1. Molecules: Tanimoto similarity of ECFP4 fingerprints, learned from listed pairs of training molecules"
run fit data/esol/esol_pairs.parquet --items data/esol/esol_items.parquet --dim 64 -o $out/esol.safetensors \
  --report $out/esol.html
say "Nearest neighbours among all molecules"
run -q search $out/esol.safetensors data/esol/esol_items.parquet data/esol/esol_items.parquet --exclude-self -k 4 \
  --only "1-Methylnaphthalene,Progesterone,2-Decanone"
say "On molecules never seen: error on all their pairs, and time against computing the similarity itself"
target/release/examples/molecules $out/esol.safetensors data/esol/esol_items.parquet

say "2. Animals: 'is a' among WordNet's mammals, complete (every pair not listed is 0)"
run fit data/mammals/closure_pairs.parquet --items data/mammals/items.parquet --features id --name synset --absent 0 \
  --dim 50 -o $out/mammals.safetensors
say "What is a ...? The ancestors found, most certain first"
run -q search $out/mammals.safetensors data/mammals/items.parquet data/mammals/items.parquet --exclude-self -k 9 \
  --only "tiger.n.02,beagle.n.01,bottlenose_dolphin.n.01"

say "3. Before anything is fitted: how large must towers be for a kernel?"
run -q plan --kernel gaussian:0.5 --domain cube:2 --error .01,sup:.1 --report $out/plan.html
say "4. After: a largest error that is proven, not sampled"
run -q fit --kernel gaussian:0.5 --domain cube:1 --error sup:1e-3 -o $out/kernel.safetensors
