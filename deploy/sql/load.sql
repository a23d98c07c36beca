-- Each table is replaced by what its file has, in one transaction: nobody sees a half of it, and a second run
-- adds nothing twice. Without BINARY_AS_TEXT = FALSE images would be read as text.
USE ROLE <% role %>;
USE SCHEMA <% schema %>;
USE WAREHOUSE <% warehouse %>;

BEGIN;
DELETE FROM LABELS_TRAIN;
COPY INTO LABELS_TRAIN FROM @<% stage %>/tables/LABELS_TRAIN.parquet
    FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE)
    MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE FORCE = TRUE;
DELETE FROM TRAIN_IMAGES_LABELS;
COPY INTO TRAIN_IMAGES_LABELS FROM @<% stage %>/tables/train_images_labels.parquet
    FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE)
    MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE FORCE = TRUE;
DELETE FROM TRAINING_DATA;
COPY INTO TRAINING_DATA FROM @<% stage %>/tables/training_data.parquet
    FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE)
    MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE FORCE = TRUE;
DELETE FROM TEST_DATA;
COPY INTO TEST_DATA FROM @<% stage %>/tables/test_data.parquet
    FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE)
    MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE FORCE = TRUE;
COMMIT;
