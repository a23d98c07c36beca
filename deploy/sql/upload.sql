USE ROLE <% role %>;
USE SCHEMA <% schema %>;
PUT 'file://<% tables %>/*.parquet' @<% stage %>/tables AUTO_COMPRESS = FALSE OVERWRITE = TRUE;
PUT 'file://<% start_weights %>' @<% stage %>/weights AUTO_COMPRESS = FALSE OVERWRITE = TRUE;
