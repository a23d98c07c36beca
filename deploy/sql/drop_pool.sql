USE ROLE <% admin_role %>;
ALTER COMPUTE POOL <% object %> STOP ALL;
DROP COMPUTE POOL IF EXISTS <% object %>;
