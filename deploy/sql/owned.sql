-- What there is of the names that deploy.sh uses. In a pattern, _ stands for any letter: the script compares.
USE ROLE <% admin_role %>;
SHOW ROLES LIKE '<% role %>';
SHOW WAREHOUSES LIKE '<% warehouse %>';
SHOW DATABASES LIKE '<% database %>';
SHOW COMPUTE POOLS LIKE '<% prefix %>%COMPUTEPOOL';
