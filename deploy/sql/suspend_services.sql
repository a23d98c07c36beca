USE ROLE <% role %>;
ALTER COMPUTE POOL <% service_pool %> SUSPEND;
