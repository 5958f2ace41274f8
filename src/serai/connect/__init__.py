"""How unmodified clients of the hosted service reach this server.

Some clients read ``BL_API_URL``; others have the hosted service's host names built in. For those
the server is also a CONNECT proxy that answers for these names with a certificate of its own
local authority (`authority`, `proxy`), and `environment` tells a client about both.
"""
