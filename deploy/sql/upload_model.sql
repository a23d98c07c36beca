USE ROLE <% role %>;
USE SCHEMA <% schema %>;
PUT 'file://<% model_file %>' @<% stage %>/models AUTO_COMPRESS = FALSE OVERWRITE = TRUE;
