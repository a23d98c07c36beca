USE ROLE <% role %>;
SHOW COMPUTE POOLS LIKE '<% prefix %>%COMPUTEPOOL';
SHOW WAREHOUSES LIKE '<% warehouse %>';
SHOW SERVICES IN SCHEMA <% schema %>;
SHOW TABLES IN SCHEMA <% schema %>;
LIST @<% stage %>;
