#!/bin/sh
# The trainer's container: waits for the workers, trains, leaves the run and its best weights on the stage.
#
# WORKERS is the workers' name in DNS, COUNT how many there are, TOKEN_FILE what trainer and workers share.
# STAGE and WORK are folders, RESOLVE looks a name up; tests set them.
set -eu
: "${WORKERS:?}" "${COUNT:?}" "${TOKEN_FILE:?}"
stage="${STAGE:-/stage}"
work="${WORK:-/work}"

# A service of several instances has a name that resolves to all of them.
addresses() { ${RESOLVE:-getent ahostsv4} "$WORKERS" | awk '{ print $1 }' | sort -u; }
until [ "$(addresses | wc -l)" -eq "$COUNT" ]; do
    echo "waiting for $COUNT workers at $WORKERS, found: $(addresses | tr '\n' ' ')"
    sleep 5
done
workers="$(addresses | sed 's|.*|ws://&:3000|' | paste -sd, -)"

# A stage takes whole files, each written and read from its beginning to its end. So images are read from the
# container's disk, and the run is written to it. It is copied to a new folder of the stage when the trainer
# ends, however it ends; `whole` is written last. The next job goes on with the newest whole copy.
mkdir -p "$work"
cp -R "$stage/tables" "$work/tables"
run="$work/run"
newest="$(find "$stage/runs" -mindepth 2 -maxdepth 2 -name whole 2>/dev/null | sort | tail -n 1)"
if [ -n "$newest" ]; then
    cp -R "$(dirname "$newest")" "$run"
    rm "$run/whole"
    set -- --resume
else
    set -- --weights "$stage/weights/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
fi
status=0
faster-rcnn train --config "${CONFIG:-/configs/gpu_nv_s.toml}" --data "$work/tables" --output "$run" \
    --workers "$workers" --token-file "$TOKEN_FILE" "$@" || status=$?
now="$(date -u +%Y%m%dT%H%M%SZ)"
if [ -e "$run/checkpoints/last.safetensors" ]; then
    mkdir -p "$stage/runs/$now"
    cp -R "$run/." "$stage/runs/$now"
    echo yes >"$stage/runs/$now/whole"
fi
if [ "$status" -eq 0 ]; then
    mkdir -p "$stage/models"
    cp "$run/checkpoints/best.safetensors" "$stage/models/$now.safetensors"
    echo "the best weights are models/$now.safetensors on the stage"
fi
exit "$status"
