USE ROLE <% admin_role %>;
DROP ROLE IF EXISTS <% object %>;
