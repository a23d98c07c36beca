-- The app is changed in place: its address and its records stay.
USE ROLE <% role %>;
USE SCHEMA <% schema %>;
CREATE SERVICE IF NOT EXISTS <% app %>
    IN COMPUTE POOL <% service_pool %>
    FROM SPECIFICATION $$
<% specification %>
$$
    MIN_INSTANCES = 1
    MAX_INSTANCES = 1;
ALTER SERVICE <% app %> FROM SPECIFICATION $$
<% specification %>
$$;
