-- POST /orders: two different products each.
-- Arguments: a file of user ids, a file of product ids, a seed, and a prefix for Idempotency-Keys ("-": send none).
-- Equal seeds make equal orders. With two products in the file, every order is on that pair.
dofile(os.getenv("BENCH_SCRIPTS") .. "/report.lua")

local users, products, prefix
local number = 0

function init(args)
  users, products = lines_of(args[1]), lines_of(args[2])
  math.randomseed(tonumber(args[3]))
  prefix = args[4] ~= "-" and args[4]
end

function request()
  local first = math.random(#products)
  local second = math.random(#products - 1)
  if second >= first then second = second + 1 end
  local body = string.format(
    '{"user_id":"%s","items":[{"product_id":"%s","quantity":%d},{"product_id":"%s","quantity":%d}]}',
    users[math.random(#users)], products[first], math.random(3), products[second], math.random(3))
  local headers = { ["Content-Type"] = "application/json" }
  if prefix then
    number = number + 1
    headers["Idempotency-Key"] = prefix .. "-" .. number
  end
  return wrk.format("POST", "/orders", headers, body)
end
