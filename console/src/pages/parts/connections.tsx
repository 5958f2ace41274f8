// Connections hold what a provider asks for; they are made alone, or together with a model.
import { request } from "../../api/request";
import { Field, Input } from "../../components/ui";

export interface NewConnection {
  name: string;
  integration: string;
  key: string;
  baseUrl: string;
}

export function createConnection(workspace: string, { name, integration, key, baseUrl }: NewConnection): Promise<unknown> {
  return request("POST", "/v0/integrations/connections", {
    workspace,
    body: {
      metadata: { name },
      spec: { integration, secret: key ? { apiKey: key } : {}, config: baseUrl ? { baseUrl } : {} },
    },
  });
}

export function ConnectionFields({
  apiKey,
  setKey,
  baseUrl,
  setBaseUrl,
}: {
  apiKey: string;
  setKey: (key: string) => void;
  baseUrl: string;
  setBaseUrl: (url: string) => void;
}) {
  return (
    <>
      <Field label="API key of the provider" hint="It is encrypted, and never shown again.">
        {(props) => <Input {...props} type="password" value={apiKey} onChange={(event) => setKey(event.target.value)} />}
      </Field>
      <Field label="Base URL" hint="Only for a server of your own, such as http://127.0.0.1:11434/v1.">
        {(props) => <Input {...props} type="url" value={baseUrl} onChange={(event) => setBaseUrl(event.target.value)} />}
      </Field>
    </>
  );
}
