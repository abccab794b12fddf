#!/usr/bin/env bash
# The bundle `rsna`, from radiographs with a few annotations to one file.
#
#   launch/rsna_bundle.sh downloads/rsna299 work
#
# The first folder holds radiographs/{train,validation} and annotations/ (masks/, key_points.json, by_hand.txt), as
# unpacked; the outlines are its masks.json, or the file that OUTLINES names. Everything goes into the second folder.
# The same command goes on where it was cut short. It takes about nine hours of a CPU core; each step can be started by
# itself, on a core of its own:
#
#   launch/rsna_bundle.sh downloads/rsna299 work data segmentation     # only these, in this order
#   taskset -c 1 launch/rsna_bundle.sh downloads/rsna299 work points
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit 2
fi
source=$1 work=$2
shift 2
steps="data segmentation points thresholds register first hand wide longer wrist bundle intervals"
# shellcheck disable=SC2086  # one word a step
[ $# -gt 0 ] || set -- $steps
for step in "$@"; do
    case " $steps " in
        *" $step "*) ;;
        *)
            echo "$0: found the step '$step', expected some of: $steps" >&2
            exit 2
            ;;
    esac
done
outlines=${OUTLINES:-$source/masks.json}
phantoms=hand_phantom/raw_3000-200-50
terms="Learnt from the images of the RSNA Pediatric Bone Age Challenge 2017 (Halabi et al., Radiology \
2019;290(2):498-503): research, education and other non-commercial use, with attribution."
mkdir -p "$work"

# Datasets: all hands, those with key points, others to choose thresholds on, phantoms; masks of the outlined hands, and
# of the hands with key points as the phantoms' networks find them.
data() {
    [ -e "$work/data.done" ] && return
    boneage data build rsna_bone_age --from "$source/radiographs" --out "$work/data"
    boneage data build hand_phantom/raw --counts 3000,200,50 --out "$work/data"
    python -m benchmarks.real_outlines rsna_bone_age/full --data "$work/data" --outlines "$outlines" \
        --out "$work/outlines"
    for which in annotated others; do
        python -m benchmarks.real_subset "$source" --which $which --most 500 --out "$work/$which"
        boneage data build rsna_bone_age --from "$work/$which" --out "$work/data-$which"
    done
    boneage register rsna_bone_age/full --data "$work/data-annotated" --segmentation phantom_only \
        --landmarks phantom_only --regions whole@104x80 --views 1 --name first --annotations "$work/first"
    python -m benchmarks.real_key_points registered_hands/first --data "$work/data-annotated" \
        --annotations "$source/annotations" --out "$work/points.json"
    touch "$work/data.done"
}

segmentation() {
    boneage train --config=configs/segmentation.py --run="$work/segmentation" \
        --config.data.dir="$work/data" --config.data.name=rsna_bone_age/full --config.data.masks="$work/outlines" \
        --config.data.mix=$phantoms --config.data.mix_share=0.5 --config.train.start=phantom_only:segmentation \
        --config.train.length="150 steps" --config.train.ema=0.98 --config.optimizer.learning_rate=5e-4 \
        --config.data.eval_split=train --config.eval.every="150 steps" --config.checkpoint.every="50 steps"
}

points() {
    boneage train --config=configs/landmarks.py --run="$work/points" \
        --config.data.dir="$work/data" --config.data.name=rsna_bone_age/full --config.data.masks="$work/first/masks" \
        --config.data.key_points="$work/points.json" \
        --config.data.mix=$phantoms --config.data.mix_share=0.4 --config.train.start=phantom_only:landmarks \
        --config.train.length="1800 steps" --config.train.ema=0.995 --config.optimizer.learning_rate=1e-3 \
        --config.eval.every="600 steps" --config.checkpoint.every="200 steps"
}

thresholds() {
    [ -e "$work/thresholds.json" ] && return
    boneage calibrate quality rsna_bone_age/full --data "$work/data-others" --split train --varied --share 0.02 \
        --views 2 --segmentation "$work/segmentation" --landmarks "$work/points" --out "$work/thresholds.json"
}

register() {
    boneage register rsna_bone_age/full --data "$work/data" --segmentation "$work/segmentation" \
        --landmarks "$work/points" --thresholds "$work/thresholds.json" --regions whole@520x400 --views 2 --name hands
}

age() {
    local name=$1
    shift
    boneage train --config=configs/rsna.py --run="$work/$name" --config.data.dir="$work/data" \
        --config.data.name=registered_hands/hands --config.optimizer.learning_rate=1.2e-3 \
        --config.augment.rotation=5.0 --config.eval.every="1 epochs" --config.checkpoint.every="200 steps" "$@"
}

# From phantoms to real hands, then at a larger input, then twice as wide, then longer.
first() {
    age first --config.train.start=phantom_only:age0 --config.train.length="4 epochs" --config.train.ema=0.995
}

hand() {
    age hand --config.train.start="$work/first" --config.train.seed=3 --config.train.length="6 epochs" \
        --config.data.height=375 --config.data.width=282 --config.augment.shift=0.03 --config.augment.zoom=0.05
}

wide() {
    age wide --config.train.start="$work/hand" --config.train.start_parts=widened --config.train.seed=11 \
        --config.model.widths="(32,64,128,256)" --config.model.dense="(256,)" --config.train.length="8 epochs" \
        --config.optimizer.learning_rate=1e-3 --config.data.height=288 --config.data.width=216 \
        --config.augment.shift=0.03 --config.augment.zoom=0.05 --config.augment.rotation=4.0
}

longer() {
    age longer --config.train.start="$work/wide" --config.train.seed=12 --config.train.length="10 epochs" \
        --config.train.ema=0.999 --config.model.widths="(32,64,128,256)" --config.model.dense="(256,)" \
        --config.model.dropout=0.1 --config.optimizer.learning_rate=1e-3 --config.data.height=288 \
        --config.data.width=216 --config.augment.shift=0.03 --config.augment.zoom=0.05 --config.augment.rotation=4.0
}

wrist() {
    age wrist --config.train.start="$work/first" --config.train.start_parts=backbones --config.train.seed=4 \
        --config.train.length="3 epochs" --config.train.ema=0.998 --config.optimizer.learning_rate=1.5e-3 \
        --config.data.regions=B+C --config.data.height=188 --config.data.width=256 \
        --config.augment.shift=0.04 --config.augment.zoom=0.06
}

bundle() {
    boneage bundle --segmentation "$work/segmentation" --landmarks "$work/points" \
        --thresholds "$work/thresholds.json" --run "$work/longer" --run "$work/hand" --run "$work/wrist" \
        --weights --stretch --bits 8 --split validation --terms "$terms" --out "$work/without_intervals.safetensors"
}

intervals() {
    boneage calibrate intervals "$source/radiographs/validation/validation.csv" \
        --images "$source/radiographs/validation" --bundle "$work/without_intervals.safetensors" \
        --into "$work/rsna.safetensors"
}

for step in "$@"; do "$step"; done
