#!/usr/bin/env bash
# What each setting of an age network brings on real hands: one run a lever, all else as in the base, compared in pairs.
#
#   launch/rsna_levers.sh registered_hands/rsna_bone_age-full data work                       # four hours of a CPU core
#   launch/rsna_levers.sh registered_hands/rsna_bone_age-full data work base wide compare     # only these
#
# The first argument names registered hands that show the whole canvas (`boneage register --regions whole@520x400`), the
# second the folder they are built in, the third where the runs go. Phantoms to mix in are built there if they are not.
# Each run is 2 epochs long, LENGTH says otherwise. The same command goes on where it was cut short.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit 2
fi
dataset=$1 data=$2 work=$3
shift 3
length=${LENGTH:-2 epochs}

train() {
    local name=$1
    shift
    boneage train --config=configs/rsna.py --run="$work/$name" --config.data.dir="$data" \
        --config.data.name="$dataset" --config.train.length="$length" --config.train.ema=0.995 \
        --config.optimizer.learning_rate=1.2e-3 --config.eval.every="1 epochs" --config.checkpoint.every="200 steps" "$@"
}

declare -A levers=(
    [base]=""
    [other-seed]="train.seed=1"
    [random-start]="train.start="
    [wide]="train.start_parts=widened model.widths=(32,64,128,256) model.dense=(256,)"
    [absolute-error]="task.age=regression train.start_parts=backbones"
    [classes]="task.age=classification"
    [finer]="data.height=375 data.width=282"
    [heads-of-sex]="model.sex=heads train.start_parts=backbones"
    [sharpen]="augment.sharpen=1.5"
    [soften]="augment.blur=1.5 augment.noise=0.03"
    [phantoms]="data.mix=hand_phantom/registered data.mix_share=0.25"
    [no-average]="train.ema=0.0"
    [no-moves]="augment.shift=0.0 augment.zoom=0.0 augment.rotation=0.0 augment.gamma=0.0 augment.contrast=0.0"
    [more-moves]="augment.shift=0.05 augment.zoom=0.08 augment.rotation=8.0"
    [regions]="data.regions=A+B+C train.start_parts=backbones"
    [convnext]="model.name=convnext model.depth=12 model.widths=(24,48,96,192) train.start="
    [longer]="train.length=6_epochs"
)
# In the order of the table.
order=(
    base other-seed random-start wide absolute-error classes finer heads-of-sex sharpen soften phantoms no-average
    no-moves more-moves regions convnext longer
)

compare() {
    local runs=()
    for name in "${order[@]}"; do
        [ -d "$work/$name/checkpoints" ] && runs+=("$work/$name")
    done
    boneage compare "${runs[@]}" --with-first --split validation --out "$work/comparison"
}

[ $# -gt 0 ] || set -- "${order[@]}" compare
for name in "$@"; do
    if [ "$name" = compare ]; then
        compare
        continue
    fi
    if [ -z "${levers[$name]+known}" ]; then
        echo "$0: found the lever '$name', expected some of: ${order[*]} compare" >&2
        exit 2
    fi
    if [ "$name" = phantoms ] && [ ! -d "$data/hand_phantom/registered" ]; then
        boneage data build hand_phantom/registered --out "$data"
    fi
    settings=()
    for setting in ${levers[$name]}; do settings+=("--config.${setting//_epochs/ epochs}"); done
    train "$name" "${settings[@]}"
done
