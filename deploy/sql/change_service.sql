-- In place: a service's names, its address and its volumes stay.
USE ROLE <% role %>;
USE SCHEMA <% schema %>;
ALTER SERVICE <% service %> FROM SPECIFICATION $$
<% specification %>
$$;
