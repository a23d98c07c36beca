-- Four workers; they are READY when the trainer finds all of them by name.
USE ROLE <% role %>;
USE SCHEMA <% schema %>;
CREATE SERVICE IF NOT EXISTS <% workers %>
    IN COMPUTE POOL <% training_pool %>
    FROM SPECIFICATION $$
<% specification %>
$$
    MIN_INSTANCES = 4
    MAX_INSTANCES = 4;
ALTER SERVICE <% workers %> FROM SPECIFICATION $$
<% specification %>
$$;
