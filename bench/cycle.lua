-- SPDX-License-Identifier: Apache-2.0
-- wrk: walk over many paths (and keys) in a scattered order.
-- Arguments: pattern with %d for the number of the route, count, number of keys (0: none).
local requests, n, at = {}, 0, 0

function init(args)
    local pattern, count, keys = args[1], tonumber(args[2]), tonumber(args[3] or "0")
    for i = 0, count - 1 do
        if keys > 0 then
            wrk.headers["apikey"] = "key-" .. (i * 37 % keys)
        end
        requests[i + 1] = wrk.format("GET", string.format(pattern, i))
    end
    n = count
end

function request()
    at = (at + 7919) % n
    return requests[at + 1]
end
