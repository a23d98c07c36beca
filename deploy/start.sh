#!/bin/sh
# One container of the service: `start.sh worker` serves its GPU, `start.sh train` trains on all workers.
#
# FASTER_RCNN_TOKEN is the secret that both share; WORKERS is the service's name in DNS, COUNT how many there are.
set -eu
umask 077
printf '%s\n' "$FASTER_RCNN_TOKEN" >/tmp/token

if [ "$1" = worker ]; then
    exec faster-rcnn worker --listen 0.0.0.0:3000 --device cuda:0 --token-file /tmp/token
fi

# A service of several instances has a name that resolves to all of them.
addresses() { getent ahostsv4 "$WORKERS" | awk '{ print $1 }' | sort -u; }
until [ "$(addresses | wc -l)" -eq "$COUNT" ]; do
    echo "waiting for $COUNT workers at $WORKERS, found: $(addresses | tr '\n' ' ')"
    sleep 5
done
workers="$(addresses | sed 's|.*|ws://&:3000|' | paste -sd, -)"

# A stage takes whole files, each written once from its beginning to its end. So the run is written to the container's
# disk, and copied to a new folder of the stage when the trainer ends, however it ends; the next job goes on with it.
run=/runs/gpu_nv_s
mkdir -p /runs
newest="$(ls -d /stage/runs/*/whole 2>/dev/null | tail -n 1)"
if [ -n "$newest" ]; then
    cp -R "$(dirname "$newest")" "$run"
    set -- --resume
else
    set -- --weights /stage/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
fi
status=0
faster-rcnn train --config /configs/gpu_nv_s.toml --data /stage/PCBData --output "$run" \
    --workers "$workers" --token-file /tmp/token "$@" || status=$?
if [ -e "$run/checkpoints/last.safetensors" ]; then
    copy="/stage/runs/$(date -u +%Y%m%dT%H%M%SZ)"
    mkdir -p "$copy"
    cp -R "$run/." "$copy"
    echo yes >"$copy/whole"
fi
exit "$status"
