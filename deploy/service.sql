-- The GPU_NV_S run on Snowpark Container Services: image repository, stage, secret, pools, workers, trainer.
-- Run it step by step; PUT and docker push in between, as the comments say.

CREATE DATABASE IF NOT EXISTS faster_rcnn;
USE SCHEMA faster_rcnn.public;

-- docker tag faster-rcnn <repository_url>/faster-rcnn:latest && docker push <repository_url>/faster-rcnn:latest
CREATE IMAGE REPOSITORY IF NOT EXISTS images;
SHOW IMAGE REPOSITORIES LIKE 'images';

-- DeepPCB's PCBData, torchvision's weights, the service specifications; and what the run writes.
CREATE STAGE IF NOT EXISTS training ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE') DIRECTORY = (ENABLE = TRUE);
-- PUT file://deploy/*.yaml @training AUTO_COMPRESS = FALSE OVERWRITE = TRUE;
-- PUT file://fasterrcnn_resnet50_fpn_coco-258fb6c6.pth @training AUTO_COMPRESS = FALSE;
-- and PCBData, folder by folder, to @training/PCBData/...

-- What trainer and workers share: `openssl rand -hex 32`.
CREATE SECRET IF NOT EXISTS worker_token TYPE = GENERIC_STRING SECRET_STRING = '<token>';

CREATE COMPUTE POOL IF NOT EXISTS faster_rcnn_gpu
    MIN_NODES = 4 MAX_NODES = 4 INSTANCE_FAMILY = GPU_NV_S AUTO_SUSPEND_SECS = 600;
CREATE COMPUTE POOL IF NOT EXISTS faster_rcnn_cpu
    MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_M AUTO_SUSPEND_SECS = 600;

CREATE SERVICE IF NOT EXISTS faster_rcnn_workers
    IN COMPUTE POOL faster_rcnn_gpu
    FROM @training SPECIFICATION_FILE = 'workers.yaml'
    MIN_INSTANCES = 4 MAX_INSTANCES = 4;
-- The dns_name goes into trainer.yaml; all four are READY before the trainer starts:
SHOW SERVICES LIKE 'faster_rcnn_workers';
SHOW SERVICE INSTANCES IN SERVICE faster_rcnn_workers;

EXECUTE JOB SERVICE
    IN COMPUTE POOL faster_rcnn_cpu
    FROM @training SPECIFICATION_FILE = 'trainer.yaml'
    NAME = faster_rcnn_trainer
    ASYNC = TRUE;
CALL SYSTEM$GET_SERVICE_LOGS('faster_rcnn_trainer', 0, 'trainer', 100);

-- What the run left: LIST @training/runs/; GET @training/runs/<time>/ file://runs/gpu_nv_s/;
-- A run that lost a worker goes on after its last epoch: DROP SERVICE faster_rcnn_trainer, then EXECUTE again.

-- Afterwards:
-- DROP SERVICE faster_rcnn_trainer; DROP SERVICE faster_rcnn_workers;
-- DROP COMPUTE POOL faster_rcnn_gpu; DROP COMPUTE POOL faster_rcnn_cpu;
