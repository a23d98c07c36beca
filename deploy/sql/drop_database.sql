-- A service with block storage is dropped only by FORCE, and its records with it.
USE ROLE <% admin_role %>;
DROP SERVICE IF EXISTS <% schema %>.<% trainer %>;
DROP SERVICE IF EXISTS <% schema %>.<% workers %>;
DROP SERVICE IF EXISTS <% schema %>.<% app %> FORCE;
DROP DATABASE IF EXISTS <% object %>;
