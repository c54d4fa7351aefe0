// The settings of Temporal: where it is, and by what it knows us.

import { z } from 'zod'
import { grpcAddress, section } from './forms.ts'
import { domain } from './routes.ts'

const tls = z.strictObject({
  ca: z.string().optional().describe('Path of the CA certificates that are trusted instead of the usual ones, in PEM form.'),
  cert: z.string().optional().describe('Path of our client certificate chain, in PEM form, where Temporal asks for one (mTLS).'),
  key: z.string().optional().describe('Path of its private key.'),
  servername: domain.optional().describe('The name that is sent as SNI and that the certificate of Temporal must be for; without it the host of `address`.'),
}).refine(({ cert, key }) => (cert === undefined) === (key === undefined), { error: 'cert and key together' })

export const temporal = section({
  address: grpcAddress.default('').describe('host:port. From the environment: TEMPORAL_ADDRESS.'),
  namespace: z.string().default('default').describe('From the environment: TEMPORAL_NAMESPACE.'),
  taskQueue: z.string().default('everpost').describe('One for each installation that shares a namespace.'),
  tls: z.union([z.boolean(), tls], { error: 'true, false, or a mapping with ca, cert, key, servername' }).optional()
    .describe("`true`: TLS, with a certificate of the usual CAs (those that Node brings along); or a mapping with the keys below. Without it TLS is spoken where there is an API key. "
      + 'Changed files are read again within a minute, or at SIGHUP; then the connection is made anew.'),
  apiKey: z.string().regex(/^[\x21-\x7e]*$/, 'a key, without blanks').default('')
    .describe('An API key, sent with each call. Better from the environment, TEMPORAL_API_KEY, or from a file:'),
  apiKeyFile: z.string().optional().describe('Path of a file whose one line is the API key; read again as the files of `tls` are. TEMPORAL_API_KEY goes over it.'),
}).refine(({ address, tls }) => !(tls && address === ''), { error: 'an address, where there is tls', path: ['address'] }).describe('Temporal.')
