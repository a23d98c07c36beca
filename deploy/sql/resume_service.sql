USE ROLE <% role %>;
USE SCHEMA <% schema %>;
ALTER SERVICE <% service %> RESUME;
