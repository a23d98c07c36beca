-- Suspending a pool suspends its services, and ends what it costs.
USE ROLE <% role %>;
ALTER COMPUTE POOL <% training_pool %> SUSPEND;
