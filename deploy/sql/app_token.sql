-- What users of the app sign in with: always that of the file.
USE ROLE <% role %>;
CREATE SECRET IF NOT EXISTS <% app_token %> TYPE = GENERIC_STRING SECRET_STRING = '<% secret %>';
ALTER SECRET <% app_token %> SET SECRET_STRING = '<% secret %>';
