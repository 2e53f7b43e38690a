-- 1,000 hosts with 5 paths each, in an order that no cache likes.
local requests = {}
local at = 0

function init(args)
   for host = 0, 999 do
      for path = 0, 4 do
         local name = string.format("h%d.bench.example", host)
         requests[#requests + 1] =
            wrk.format("GET", string.format("/p%d/item", path), { ["Host"] = name })
      end
   end
end

function request()
   at = (at + 1237) % #requests
   return requests[at + 1]
end
