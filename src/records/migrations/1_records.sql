-- Types that SQLite and PostgreSQL both know. Times are milliseconds since 1970 in UTC.
CREATE TABLE models (
    sha256 TEXT PRIMARY KEY,
    class_names TEXT NOT NULL
);

CREATE TABLE images (
    sha256 TEXT PRIMARY KEY,
    bytes BIGINT NOT NULL
);

CREATE TABLE inspections (
    id TEXT PRIMARY KEY,
    key TEXT UNIQUE,
    time BIGINT NOT NULL,
    day TEXT NOT NULL,
    model_name TEXT,
    model_version BIGINT,
    model_sha256 TEXT NOT NULL REFERENCES models (sha256),
    image_name TEXT,
    image_width BIGINT NOT NULL,
    image_height BIGINT NOT NULL,
    image_sha256 TEXT NOT NULL REFERENCES images (sha256),
    image_bytes BIGINT NOT NULL,
    image_media_type TEXT NOT NULL,
    reference_name TEXT,
    reference_width BIGINT,
    reference_height BIGINT,
    reference_sha256 TEXT REFERENCES images (sha256),
    reference_bytes BIGINT,
    reference_media_type TEXT,
    line TEXT,
    product TEXT,
    board TEXT,
    score_threshold DOUBLE PRECISION NOT NULL,
    verdict_time BIGINT,
    verdict_by TEXT,
    decode_ms DOUBLE PRECISION NOT NULL,
    queue_ms DOUBLE PRECISION NOT NULL,
    detect_ms DOUBLE PRECISION NOT NULL,
    store_ms DOUBLE PRECISION,
    total_ms DOUBLE PRECISION NOT NULL
);

CREATE INDEX inspections_time ON inspections (time);
CREATE INDEX inspections_line ON inspections (line, time);
CREATE INDEX inspections_product ON inspections (product, time);
CREATE INDEX inspections_board ON inspections (board);
CREATE INDEX inspections_image ON inspections (image_sha256);
CREATE INDEX inspections_reference ON inspections (reference_sha256);
CREATE INDEX inspections_model ON inspections (model_sha256);

CREATE TABLE detections (
    inspection TEXT NOT NULL REFERENCES inspections (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    x1 DOUBLE PRECISION NOT NULL,
    y1 DOUBLE PRECISION NOT NULL,
    x2 DOUBLE PRECISION NOT NULL,
    y2 DOUBLE PRECISION NOT NULL,
    label BIGINT NOT NULL,
    name TEXT,
    score DOUBLE PRECISION NOT NULL,
    verdict TEXT,
    PRIMARY KEY (inspection, position)
);

CREATE TABLE missed (
    inspection TEXT NOT NULL REFERENCES inspections (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    x1 DOUBLE PRECISION NOT NULL,
    y1 DOUBLE PRECISION NOT NULL,
    x2 DOUBLE PRECISION NOT NULL,
    y2 DOUBLE PRECISION NOT NULL,
    label BIGINT NOT NULL,
    name TEXT,
    PRIMARY KEY (inspection, position)
);
