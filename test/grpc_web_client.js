// SPDX-License-Identifier: Apache-2.0
// One call of the npm package grpc-web, told as JSON: node grpc_web_client.js URL METHOD text|binary unary|stream REQUEST(base64)
// The folder it runs in has grpc-web and xhr2 in node_modules.
const { createRequire } = require('module');
const load = createRequire(process.cwd() + '/');
globalThis.XMLHttpRequest = load('xhr2');
const { GrpcWebClientBase, MethodDescriptor, MethodType } = load('grpc-web');

const [url, method, format, kind, request] = process.argv.slice(2);
const streams = kind === 'stream';
const descriptor = new MethodDescriptor(method, streams ? MethodType.SERVER_STREAMING : MethodType.UNARY, Uint8Array, Uint8Array, (m) => m, (m) => m);
const seen = { messages: [], status: null, error: null };
const add = (m) => seen.messages.push(Buffer.from(m).toString('base64'));
const end = () => process.stdout.write(JSON.stringify(seen), () => process.exit(0));
const fail = (e) => { seen.error = { code: e.code, message: e.message }; end(); };
const client = new GrpcWebClientBase({ format });
const body = Uint8Array.from(Buffer.from(request, 'base64'));

if (streams) {
    const call = client.serverStreaming(url + method, body, {}, descriptor);
    call.on('data', add);
    call.on('status', (s) => { seen.status = s.code; });
    call.on('error', fail);
    call.on('end', end);
} else {
    client.rpcCall(url + method, body, { asked: 'yes' }, descriptor, (e, m) => {
        if (e) return fail(e);
        add(m);
        end();
    });
}
