CREATE TABLE IF NOT EXISTS `orders_final`
(
    `order_id` String,
    `created_at` DateTime64(6, 'UTC'),
    `customer_name` String,
    `customer_email` String,
    `shipping_address_street` String,
    `shipping_address_city` String,
    `shipping_address_postal_code` String,
    `shipping_address_country` LowCardinality(String),
    `total_price` Float64,
    `notes` String,
    `line_item_id` String,
    `product_id` String,
    `product_title` String,
    `quantity` Int64,
    `price` Float64,
    `discount` Float64
)
ENGINE = MergeTree
ORDER BY (created_at, order_id)
SETTINGS index_granularity = 8192;

CREATE TABLE IF NOT EXISTS `orders_kafka`
(
    `order_id` String,
    `created_at` DateTime64(6, 'UTC'),
    `customer_name` String,
    `customer_email` String,
    `shipping_address` Tuple(`street` String, `city` String, `postal_code` String, `country` String),
    `line_items` Array(Tuple(`line_item_id` String, `product_id` String, `product_title` String, `quantity` Int64, `price` Float64, `discount` Float64)),
    `total_price` Float64,
    `notes` String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'broker:9092',
    kafka_topic_list = 'orders',
    kafka_group_name = 'clickhouse-orders',
    kafka_format = 'JSONEachRow';

CREATE MATERIALIZED VIEW IF NOT EXISTS `orders_mv` TO `orders_final` AS
SELECT
    `order_id` AS `order_id`,
    `created_at` AS `created_at`,
    `customer_name` AS `customer_name`,
    `customer_email` AS `customer_email`,
    `shipping_address`.`street` AS `shipping_address_street`,
    `shipping_address`.`city` AS `shipping_address_city`,
    `shipping_address`.`postal_code` AS `shipping_address_postal_code`,
    `shipping_address`.`country` AS `shipping_address_country`,
    `total_price` AS `total_price`,
    `notes` AS `notes`,
    tupleElement(item, 'line_item_id') AS `line_item_id`,
    tupleElement(item, 'product_id') AS `product_id`,
    tupleElement(item, 'product_title') AS `product_title`,
    tupleElement(item, 'quantity') AS `quantity`,
    tupleElement(item, 'price') AS `price`,
    tupleElement(item, 'discount') AS `discount`
FROM
(
    SELECT *, arrayJoin(`line_items`) AS item
    FROM `orders_kafka`
);
