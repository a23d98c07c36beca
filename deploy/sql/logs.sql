USE ROLE <% role %>;
CALL SYSTEM$GET_SERVICE_LOGS('<% schema %>.<% service %>', <% instance %>, '<% container %>', <% lines %>);
