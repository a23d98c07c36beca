USE ROLE <% role %>;
LIST @<% stage %>;
