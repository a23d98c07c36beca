USE ROLE <% role %>;
USE SCHEMA <% schema %>;
CREATE SERVICE IF NOT EXISTS <% service %>
    IN COMPUTE POOL <% pool %>
    FROM SPECIFICATION $$
<% specification %>
$$
    MIN_INSTANCES = <% instances %>
    MAX_INSTANCES = <% instances %>;
