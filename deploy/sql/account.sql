-- The objects of the account, made by a role that may, and what the project's own role may do with them.
USE ROLE <% admin_role %>;

CREATE ROLE IF NOT EXISTS <% role %> COMMENT = '<% mark %>';
GRANT ROLE <% role %> TO ROLE SYSADMIN;
SET FASTER_RCNN_USER = (SELECT '"' || CURRENT_USER() || '"');
GRANT ROLE <% role %> TO USER IDENTIFIER($FASTER_RCNN_USER);

CREATE WAREHOUSE IF NOT EXISTS <% warehouse %>
    WAREHOUSE_SIZE = XSMALL
    AUTO_SUSPEND = 60
    AUTO_RESUME = TRUE
    INITIALLY_SUSPENDED = TRUE
    COMMENT = '<% mark %>';
GRANT USAGE, OPERATE ON WAREHOUSE <% warehouse %> TO ROLE <% role %>;

CREATE DATABASE IF NOT EXISTS <% database %> COMMENT = '<% mark %>';
CREATE SCHEMA IF NOT EXISTS <% schema %>;
GRANT USAGE ON DATABASE <% database %> TO ROLE <% role %>;
GRANT ALL PRIVILEGES ON SCHEMA <% schema %> TO ROLE <% role %>;

-- Four nodes with one A10G each, for training. A pool that is suspended costs nothing.
CREATE COMPUTE POOL IF NOT EXISTS <% training_pool %>
    MIN_NODES = 4
    MAX_NODES = 4
    INSTANCE_FAMILY = GPU_NV_S
    AUTO_RESUME = TRUE
    INITIALLY_SUSPENDED = TRUE
    AUTO_SUSPEND_SECS = 600
    COMMENT = '<% mark %>';
-- One node for the app, another one for the trainer while it runs.
CREATE COMPUTE POOL IF NOT EXISTS <% service_pool %>
    MIN_NODES = 1
    MAX_NODES = 2
    INSTANCE_FAMILY = CPU_X64_M
    AUTO_RESUME = TRUE
    INITIALLY_SUSPENDED = TRUE
    AUTO_SUSPEND_SECS = 600
    COMMENT = '<% mark %>';
GRANT USAGE, MONITOR, OPERATE ON COMPUTE POOL <% training_pool %> TO ROLE <% role %>;
GRANT USAGE, MONITOR, OPERATE ON COMPUTE POOL <% service_pool %> TO ROLE <% role %>;
GRANT BIND SERVICE ENDPOINT ON ACCOUNT TO ROLE <% role %>;
