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

if [ -e /stage/runs/gpu_nv_s/checkpoints/last.safetensors ]; then
    set -- --resume
else
    set -- --weights /stage/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
fi
exec faster-rcnn train --config /configs/gpu_nv_s.toml --data /stage/PCBData --output /stage/runs/gpu_nv_s \
    --workers "$workers" --token-file /tmp/token "$@"
