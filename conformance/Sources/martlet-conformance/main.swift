await MartletConformance.runToEnd()
