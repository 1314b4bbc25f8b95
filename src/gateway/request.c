/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request: the life of a request, from its head to the access log. Read gateway_handle() top to
 * bottom; each step has a file of its own (steps.h).
 */
#include "gateway/gateway.h"
#include "gateway/steps.h"
#include "route/router.h"

/* The route that matches, if any. */
static void match_route(struct req *r)
{
    struct route_match m;
    const struct route_query q = {
        .uri = r->match_uri,
        .host = r->host.n ? r->host : STR_NONE,
        .host_header = r->host_header,
        .method_bit = r->method_id == M_OTHER ? 0 : 1u << r->method_id,
        .client = &r->client,
        .subject = r,
    };
    if (!router_match(r->snapshot->router, &q, &m)) {
        return;
    }
    r->route = m.route;
    r->matched_uri = m.uri_pattern;
    r->matched_host = m.host_pattern;
    if (m.n_params) {
        r->uri_params = ARENA_NEW(r->arena, struct headers);
        headers_init(r->uri_params, r->arena, m.n_params);
        for (unsigned i = 0; i < m.n_params; i++) {
            headers_add(r->uri_params, m.params[i].name, m.params[i].value);
        }
    }
}

/* The objects a route refers to. A missing one fails the request, never the check it stands for. */
static enum verdict find_references(struct req *r)
{
    const struct route *route = r->route;
    if (route->plugin_config_id.p) {
        r->plugin_config =
            SNAP_FIND(r->snapshot, PLUGIN_CONFIG, plugin_config, route->plugin_config_id);
        if (r->plugin_config == NULL) {
            return req_reply(r, 503, STR_NONE);
        }
    }
    if (route->service_id.p) {
        r->service = SNAP_FIND(r->snapshot, SERVICE, service, route->service_id);
        if (r->service == NULL) {
            return req_reply(r, 404, STR_NONE);
        }
    }
    return NEXT;
}

static enum verdict no_route(struct req *r)
{
    if (chain_run(r, r->globals, PHASE_REWRITE, NULL) == DONE ||
        chain_run(r, r->globals, PHASE_ACCESS, NULL) == DONE) {
        return DONE;
    }
    return req_reply(r, 404, STR("{\"error_msg\":\"404 Route Not Found\"}\n"));
}

/* An auth plugin has found the consumer: its plugins join. */
static enum verdict merge_consumer(struct req *r)
{
    if (r->consumer == NULL) {
        return NEXT;
    }
    if (r->consumer->group_id.p && r->consumer_group == NULL) {
        return req_reply(r, 503, STR_NONE);
    }
    chain_drop(r->chain);
    r->chain = chain_of(r);
    return chain_run_late(r, r->chain);
}

/* The phases before a proxied answer. DONE: there is an answer in r->resp. */
static enum verdict await_verdict(struct req *r)
{
    if (request_prepare(r) == DONE) {
        return DONE;
    }
    if (request_check_client(r) == DONE) {
        return DONE;
    }
    match_route(r);
    r->globals = chain_of_globals(r);
    if (r->route == NULL) {
        return no_route(r);
    }
    if (find_references(r) == DONE) {
        return DONE;
    }
    r->chain = chain_of(r);
    if (chain_run(r, r->globals, PHASE_REWRITE, r->chain) == DONE ||
        chain_run(r, r->chain, PHASE_REWRITE, NULL) == DONE) {
        return DONE;
    }
    if (merge_consumer(r) == DONE) {
        return DONE;
    }
    if (chain_run(r, r->globals, PHASE_ACCESS, r->chain) == DONE) {
        return DONE;
    }
    return chain_run(r, r->chain, PHASE_ACCESS, NULL);
}

static void log_request(struct req *r)
{
    int64_t upstream_us = 0;
    for (unsigned i = 0; i < r->n_tries; i++) {
        upstream_us += r->tries[i].response_us > 0 ? r->tries[i].response_us : 0;
    }
    if (r->client_gone && !r->resp.sent) {
        r->resp.status = 499;
    }
    r->apisix_us = now_us() - r->start_us - upstream_us;
    chain_notify(r, r->globals, PHASE_LOG, r->chain);
    chain_notify(r, r->chain, PHASE_LOG, NULL);
    access_log_request(r);
}

void request_end(struct req *r, struct core_snapshot *held)
{
    log_request(r);
    chain_drop(r->chain);
    chain_drop(r->globals);
    core_drop_snapshot(core_of(r), held);
}

void gateway_handle(struct req *r)
{
    struct proxied p;
    r->up.gather = UPLOAD_BUFFER;

    p.snapshot = core_hold_snapshot(core_of(r), r);
    p.left = false;
    if (await_verdict(r) == DONE || request_await_proxy(r, &p) == DONE) {
        request_await_reply(r);
    } else {
        request_await_response(r, &p);
    }
    if (!p.left) {
        request_end(r, p.snapshot);
    }
}

void gateway_refused(struct req *r)
{
    r->settings = core_of(r)->settings;
    access_log_request(r);
}
