USE ROLE <% admin_role %>;
DROP WAREHOUSE IF EXISTS <% object %>;
