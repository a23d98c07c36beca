USE ROLE <% role %>;
SHOW SERVICES LIKE '<% service %>' IN SCHEMA <% schema %>;
