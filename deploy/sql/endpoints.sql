USE ROLE <% role %>;
SHOW ENDPOINTS IN SERVICE <% schema %>.<% app %>;
