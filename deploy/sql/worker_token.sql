-- What trainer and workers share; nobody else needs it, so it is chosen once.
USE ROLE <% role %>;
CREATE SECRET IF NOT EXISTS <% worker_token %> TYPE = GENERIC_STRING SECRET_STRING = '<% secret %>';
