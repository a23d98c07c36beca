-- A job's name may be used again only when the job of that name is dropped. What it wrote is on the stage.
USE ROLE <% role %>;
USE SCHEMA <% schema %>;
DROP SERVICE IF EXISTS <% trainer %>;
EXECUTE JOB SERVICE
    IN COMPUTE POOL <% service_pool %>
    FROM SPECIFICATION $$
<% specification %>
$$
    NAME = <% trainer %>
    ASYNC = TRUE;
