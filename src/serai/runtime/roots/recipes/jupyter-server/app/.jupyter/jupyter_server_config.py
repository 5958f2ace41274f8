"""Configuration of Jupyter Server in a sandbox: whoever reaches it may use it."""

import sys

sys.path.insert(0, "/app/interpreter")

c = get_config()  # noqa: F821
c.ServerApp.ip = "*"
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.root_dir = "/app"
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.allow_origin = "*"
c.ServerApp.allow_remote_access = True
c.ServerApp.disable_check_xsrf = True
c.ServerApp.iopub_data_rate_limit = 1e9
c.ServerApp.jpserver_extensions = {"code_interpreter": True}
c.IdentityProvider.token = ""
